"""What softmax and format do to learning: networks of torch around the implementation under test.

`plan` says what is trained, `head` is the layer under test, `network` trains, `executor` is what
a worker process is asked.
"""
