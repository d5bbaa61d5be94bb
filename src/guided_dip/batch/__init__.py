"""Thousands of pictures: a manifest of what is to be restored, and who restores it.

``OUTDIR`` mirrors the tree of the sources. Beside the restorations it has one folder with
the manifest, what each job logged, and the work of jobs that are not done.
"""
