"""One restoration from file to file, whoever asks for it: the command line, a batch, a page.

All that can be checked is checked before anything is computed; a run can be cut between any two
steps and go on to the same bytes; what comes of it appears whole or not at all. Its modules load
what is heavy only when they are used.
"""
