# Tapvault. Every target sets up what it needs; `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo test bench chaos fuzz clean

BIN := build/bin

help: ## list the targets
	@echo "make demo    take a card through the whole service, told in plain words"
	@echo "make test    everything that CI runs, set-up included"
	@echo "make build   the binaries, in $(BIN)"
	@echo "make bench   how near the service comes to what the HSM can do"
	@echo "make chaos   break a service of several processes under load; REQUESTS=2000000 for a long run"
	@echo "make fuzz    every decoder for FUZZTIME (10m); stop it and call it again, and it goes on"
	@echo "make setup   only the system packages (the others call it themselves)"
	@echo "make clean   remove build/ and everything a demo or a test left there"

setup: ## install missing system packages, after saying which
	@bash scripts/setup.sh

setup-test:
	@bash scripts/setup.sh test

build: setup ## build the binaries
	@mkdir -p $(BIN)
	go build -o $(BIN)/ ./cmd/...

demo: build ## the story of one card, on a real service
	@$(BIN)/tapsim demo --bin $(BIN)/tapvault --dir build/demo

test: setup-test ## everything that CI runs
	@bash scripts/test.sh

bench: build ## compare the service with the bare HSM and the bare web server
	$(BIN)/tapvault bench purchase
	$(BIN)/tapvault bench http

REQUESTS ?= 0

chaos: setup-test build ## a table of faults, what was lost (nothing) and how long recovery took
	$(BIN)/tapsim chaos --bin $(BIN)/tapvault --dir build/chaos --requests $(REQUESTS)

FUZZTIME ?= 10m

fuzz: setup-test ## every decoder, JOBS at once
	@FUZZTIME=$(FUZZTIME) KEEP=1 RESUME=1 bash scripts/fuzz.sh

clean: ## remove what was built
	rm -rf build
