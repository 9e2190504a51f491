"""What a person should notice: notifications, an operator's messages, the panel and its widget."""
