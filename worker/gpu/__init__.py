"""One process per device; read in this order.

app         wires the process: settings, engine, ledger, Celery, start and stop signals
pool        the Celery pool: wakes the consumer when a slot frees, hands work back when stopped
orders      what operators have it do: drain, load a model, forget caches
tasks       the Celery side: name and one call
runner      one job from its id to stored images, in one straight line
turns       which jobs may be at work at the same time
wording     which prompt is painted
checks      which pictures are checked for safety, and by whom
engine      the only thread that touches the device
batcher     which samples go together (no torch)
pipelines   which models stay loaded
memory      how much room there is for them (no torch)
families    what differs between model families; the only place that imports torch
prompts     weights in prompts, and pieces of tokens (no torch)
decoder     a process that may die of an image; decoder_pool keeps some
images      bytes to pixels and back
censor      what is handed out in place of an unsafe picture
samples     Sample, BatchKey, Batch: the words of this folder
"""
