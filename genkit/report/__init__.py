"""One file of HTML about one or several runs, which opens from disk: what they are, how they trained, what they make.

account.py       what is known of a run, read from disk; or why it isn't
history.py       its curves, from metrics.jsonl
evaluations.py   its evaluations, from evaluation.json
card.py          in words: title, card, settings, commands
training.py      curves and numbers of the training, drawn by chart.py
gallery.py       the model's pictures, packed by png.py
figures.py       the tables of its evaluation
blocks.py        what a section is made of
page.py          all of it on one page, by page.html and page.css
"""
