# Tapvault. Every target sets up what it needs; `make help` lists them.

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build demo test bench clean

BIN := build/bin

help: ## list the targets
	@echo "make demo    take a card through the whole service, told in plain words"
	@echo "make test    everything that CI runs, set-up included"
	@echo "make build   the binaries, in $(BIN)"
	@echo "make bench   how near the service comes to what the HSM can do"
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

clean: ## remove what was built
	rm -rf build
