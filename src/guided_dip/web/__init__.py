"""Restorations over HTTP: a job manager, an API and a page on it, all of one process.

What all share lies here: ``models`` says what a job is, ``jobs`` what its manager does for the API
and the page, ``limits`` what anyone may ask for, ``problems`` how a request is refused, and
``plans`` what a plan is made from. ``serve`` puts the server together; ``client`` is for those who
call it. The rest has rooms of its own: ``queue``, ``uploads``, ``access``, ``http`` and ``page``.
The queue knows nothing of HTTP, and nothing but ``serve`` knows the queue. Fits run in processes of
their own.
"""
