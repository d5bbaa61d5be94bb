"""Who may ask for what: hosts, origins and tokens, and a browser's session for a token."""
