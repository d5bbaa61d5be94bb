"""Restorations over HTTP: a job manager, an API and a page on it, all of one process.

``models`` says what a job is, ``jobs`` what its manager does for the API and the page, and
``limits`` what anyone may ask for. Fits run in processes of their own.
"""
