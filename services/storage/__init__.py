"""storage owns the files that outlive a request: it keeps each generated output, and serves it.

It hears OutputProduced (an output waits at a provider's address: fetch it), TaskRemoved (delete the
task's outputs) and UserErased (delete all that is the user's). It says OutputStored and
OutputRejected, exactly one of them for each output. It knows tasks by id only: what an output
costs, and what its task becomes of it, is others'.
"""
