"""The HTTP API: its routes, its answers, and what stands before them.

``app`` is the application, ``api`` its routes, ``schema`` what their description says beyond the
code; ``bodies`` bounds what is sent, ``answers`` and ``streams`` make what is sent back, ``calls``
keeps the disk out of the loop, and ``metrics`` counts.
"""
