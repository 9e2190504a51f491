"""Believe: what was heard is compared with what was known, and the verdict recorded with its event in one commit."""
