# The five minutes of the README in a container:
#   docker build -t mobileiqa . && docker run --rm -v "$PWD/photos:/photos" mobileiqa score /photos
# Without CUDA, 5 GB less: --build-arg TORCH_INDEX=the address that PyTorch's install page shows for Linux, pip and CPU.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates make python3 python3-venv \
	&& rm -rf /var/lib/apt/lists/*
WORKDIR /mobileiqa
COPY . .
ARG TORCH_INDEX=
RUN make convert TORCH_INDEX="$TORCH_INDEX" && rm -rf ~/.cache
ENV PATH=/mobileiqa/.venv/bin:$PATH
ENTRYPOINT ["mobileiqa"]
CMD ["--help"]
