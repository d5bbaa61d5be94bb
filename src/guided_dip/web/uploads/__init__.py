"""What is sent: read as it arrives, as files and settings, and looked at before it is opened."""
