"""Tell: from the log to every open stream, in order, once."""
