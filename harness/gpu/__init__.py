"""Everything that needs a GPU, in one command, ``python -m harness.gpu``, and in one file.

`command` runs tests, conformance, accuracy and throughput of the implementations on a device, in
the order and the shares of `parts`, and leaves a run and its report. `bundle` packs it, with the
packages that an image for CUDA work lacks, into a file that `unpack` runs there.
"""
