"""A program that prints something and exits with its standard input, unless told not to."""

import sys
import time

sys.stdout.write("".join(f"{word}\n" for word in sys.argv[1:2]))
sys.stdout.flush()
sys.stdin.read()
if "--stubborn" in sys.argv:
    time.sleep(60)
