"""The job manager: what is asked for, carried out on a batch's manifest, and kept over restarts.

``manager`` is what others call. ``asking`` makes orders of what a user asks for; ``begin`` writes a
job down, in the folder that ``data`` lays out, as ``records`` has it; ``engine`` is the thread that
has jobs carried out, ``views`` what a worker makes for browsers, ``course`` what is heard of it;
``book`` has the jobs in memory, ``store`` on the disk.
"""
