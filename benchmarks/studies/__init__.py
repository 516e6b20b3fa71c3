"""What the tables of README and docs are measured with, each one command: `python -m edge_moe.benchmarks.studies.NAME`.

    bad_layer      a checkpoint whose layers int8 ruins, to see whether a conversion names them
    browser        base and expert in a browser beside this host, and what the page adds
    bursts         routers of the literature beside one tau, on bursts of labelled images
    contact_sheet  images of a data set side by side
    conversion     what converting costs: seconds a part, peak memory
    cores          which recipe wins where: at full size on emulated Arm cores, and on this host
    footprint      the memory of a bundle with many experts, and what `import edge_moe` costs
    kernels        how far right kernels are apart, on two processors
    npus           what base and expert cost on every Ethos-U, by memory mode
    promises       how often promises are broken, over images drawn anew
    recipes        what int8 is worth at full size, by backend and recipe
    rounding       how far a device's answers are from this host's, where it rounds elsewhere
    speed          what the runtime adds to its parts, and what one would do otherwise
    tiny_imagenet  the photographs of docs/photographs.md, out of their zips
    waking         what opening an expert costs, in time and memory, and what bursts save of it

What they share:

    full_size      the network that they measure
    routers        the routers of the literature in one form
    turns          comparing on a noisy machine

They are in no wheel: nothing else imports them.
"""
