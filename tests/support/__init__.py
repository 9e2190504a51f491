"""What the tests share: real servers, waiting, the machine's pace, and the check that nothing is left behind."""
