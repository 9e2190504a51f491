"""Remember: one append-only log of every change; an event's id is the cursor of whoever read it."""
