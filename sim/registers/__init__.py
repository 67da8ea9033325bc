"""Register models of parts that no emulator has, written from their manuals.

`../part_registers.py` runs them.
"""
