"""Figures, tables, number formatting and style shared by the pages."""
