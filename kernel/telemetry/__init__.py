"""What an operator sees of a running process: traces and metrics. Nothing here decides anything.

`tracing` names the spans, `exporting` makes and sends them (imported only when somebody listens),
`metrics` holds what `/metrics` shows, and the loops beside them measure what nobody calls.
"""
