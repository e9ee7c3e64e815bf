"""What several implementations on one array library share."""
