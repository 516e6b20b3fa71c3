"""The native runner: C and C++ sources of a program that runs parts without Python, and how it is told what to do."""
