"""
The moving of bytes between two connections, without a look at them.

What every relay promises:

 - the EOF of one side is passed on as the end of writing to the other, after
   all bytes that came before it, and the other direction goes on until its own;
 - a reset is passed on as a reset;
 - a slow reader stops the writer: memory is bounded;
 - it tells, once, when both connections are gone and why.
"""
