# What a developer needs daily. `make demo` and `make test` install what is missing and need nothing else.

.PHONY: demo test build images check fmt live bench clean-lab setup help

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: setup ## Run a real service over several sites of this machine; KEEP=1 leaves it running
	@$(RUN) cargo xtask demo $(if $(KEEP),--keep)

test: setup ## Everything that must hold before a change lands, live tests included
	@$(RUN) cargo xtask ci

build: setup ## Build the groma binary in release
	@$(RUN) cargo build --release --bin groma

images: setup ## Build the network functions and pack them into target/images
	@$(RUN) cargo xtask images

check: setup ## What is fast: tidy, format, clippy
	@$(RUN) cargo xtask tidy
	@$(RUN) cargo fmt --all --check
	@$(RUN) cargo clippy --workspace --all-targets --quiet -- -D warnings

fmt: setup ## Format the code and rewrite what is generated
	@$(RUN) cargo fmt --all
	@$(RUN) cargo xtask gen

live: setup ## Only the tests that need root, namespaces and containers
	@$(RUN) cargo xtask live

bench: setup ## A benchmark: make bench NAME=demo
	@$(RUN) cargo xtask bench $(NAME)

clean-lab: setup ## Remove the laboratory that `make demo KEEP=1` left
	@$(RUN) cargo run --quiet --bin groma -- lab down --name demo

setup:
	@tools/setup.sh

# A shell that was open before rustup was installed does not have its folder in the path.
RUN = PATH="$$HOME/.cargo/bin:$$PATH"
