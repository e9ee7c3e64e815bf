"""Answers of trainings, a module for each question: a sentence, a figure, a table."""
