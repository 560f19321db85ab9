# Every target sets up what it needs: system packages for headless rendering, then .venv.
PYTHON := .venv/bin/python
.PHONY: help setup demo test test-slow lint bench tiny tables clean

help:
	@echo "make demo       two Meta-World tasks, four encoders: demonstrations to table and report"
	@echo "make test       lint, types and tests"
	@echo "make test-slow  the proofs that take minutes"
	@echo "make bench      each benchmark against its peer, in one run"
	@echo "make tiny       the weights of egovideo_tiny, from nothing (two hours)"
	@echo "make tables     the README's tables (hours)"

setup:
	@scripts/setup.sh test

demo:
	@scripts/setup.sh demo
	$(PYTHON) -m robot_eval experiment=demo

test: setup lint
	$(PYTHON) -m pytest -m "not slow" -n 2 --dist loadfile --durations 10

test-slow: setup
	$(PYTHON) -m pytest -m slow

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: setup
	$(PYTHON) benchmarks/rollout.py
	$(PYTHON) benchmarks/training.py
	$(PYTHON) benchmarks/encoding.py
	$(PYTHON) benchmarks/decoding.py
	$(PYTHON) benchmarks/egosim.py
	$(PYTHON) benchmarks/allocator.py

# Goes on where it was stopped. The weights that ship lie in egorep/weights/egovideo_tiny, with their model card.
tiny: setup
	$(PYTHON) -m pretrain.sim out=data/egosim_train clips=1700 seed=100000 'splits={train: 1, validation: 0, test: 0}'
	$(PYTHON) -m pretrain.hod data=data/egosim_train detector=groundtruth
	$(PYTHON) -m pretrain.train data=data/egosim_train_hod stage=backbone epochs=14 out=runs/tiny
	$(PYTHON) -m pretrain.sim out=data/egosim_stills clips=1100 stills=6 seed=200000 'splits={train: 0.9, validation: 0, test: 0.1}'
	$(PYTHON) -m pretrain.objectness data=data/egosim_stills init=runs/tiny out=runs/tiny_objects
	$(PYTHON) -m pretrain.export run=runs/tiny_objects data=data/egosim_train_hod out=runs/egovideo_tiny
	$(PYTHON) -m pretrain.sim out=data/egosim clips=848
	$(PYTHON) -m pretrain.zeroshot data=data/egosim checkpoint=runs/egovideo_tiny benchmark=egosim

tables: setup
	$(PYTHON) -m robot_eval out=runs/table_none encoders=[egovideo_tiny:grid,efficientnet_lite0,egovideo_tiny,egovideo_tiny:mean,random/egovideo_tiny,state]
	$(PYTHON) -m robot_eval encoders=[oracle] out=runs/table_oracle
	$(PYTHON) -m robot_eval demos=5 out=runs/table_none_5 encoders=[egovideo_tiny:grid,efficientnet_lite0,egovideo_tiny,egovideo_tiny:mean,random/egovideo_tiny,state]
	$(PYTHON) -m robot_eval demos=10 out=runs/table_none_10 encoders=[egovideo_tiny:grid,efficientnet_lite0,egovideo_tiny,egovideo_tiny:mean,random/egovideo_tiny,state]
	$(PYTHON) -m robot_eval variation=train policy=keyposes fresh_demos=true seeds=[6,7,8,9,10] protocol.held_out_episodes=30 out=runs/table_fresh \
		encoders=[egovideo_tiny:objects,efficientnet_lite0:grid,random/egovideo_tiny:objects,state]
	$(PYTHON) -m robot_eval variation=train demos=50 out=runs/table_varied
	$(PYTHON) -m robot_eval encoders=[oracle] variation=train demos=50 out=runs/table_varied_oracle

clean:
	rm -rf .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
