"""A program that says something and ends when its standard input does; unless it is stubborn."""

import sys
import time

sys.stdout.write("".join(f"{word}\n" for word in sys.argv[1:2]))
sys.stdout.flush()
sys.stdin.read()
if "--stubborn" in sys.argv:
    time.sleep(60)
