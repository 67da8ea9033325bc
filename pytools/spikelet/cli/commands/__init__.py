"""One command a file: its options and its help, and the steps that it takes.

A command's file is loaded only when it is called or its help is shown. So it imports nothing heavy
at its top: what a command needs to work is imported in its body, `with loading(as_json)`. What it
shows, and what more than one command does, is in the files of the folder above.
"""
