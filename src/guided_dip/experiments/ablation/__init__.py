"""Ablations: what of a method matters, varied one factor at a time or in any grid."""
