"""People act: every command once, told as it goes, and never taken for done before it was seen."""
