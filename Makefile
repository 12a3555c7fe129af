# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# TESTING.md says what each target is for; noxfile.py holds the commands.

STAGES = unit properties lint build sanity units playbooks installed importer browser older trust fuzz matrix kernel envoy istiod cluster-up live mesh mesh-up scale oldest bench cluster-down

.PHONY: help demo setup test clean $(STAGES)

help:
	@echo 'make demo     see it work on a recorded cluster'
	@echo 'make test     everything that can be tested here'
	@echo 'make STAGE    one of: $(STAGES)'
	@echo 'make setup    only install the tools into .venv'
	@echo 'make clean    remove .venv and what the tools left'

# Without the tools of the tests, which are half a gigabyte.
demo:
	@TOOLS=none tests/setup .venv-demo
	@ANSIBLE_CONFIG=.venv-demo/ansible.cfg ANSIBLE_COLLECTIONS_PATH=.venv-demo/tree ANSIBLE_LOCALHOST_WARNING=False ANSIBLE_INVENTORY_UNPARSED_WARNING=False \
		.venv-demo/bin/ansible-playbook meshops.istio_precheck.demo

setup:
	@tests/setup

test: setup
	@.venv/bin/nox

$(STAGES): setup
	@.venv/bin/nox --session $@

clean:
	rm -rf .venv .venv-* .ansible .hypothesis .pytest_cache dist tests/output
