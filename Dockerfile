# For those who build with docker; "make image" makes the same image without.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
ARG TARGETOS=linux
ARG TARGETARCH
WORKDIR /src
# The modules change less often than the source: their layer is kept.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make build VERSION="$VERSION"

FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="kube-verdict" \
      org.opencontainers.image.description="A Kubernetes Service proxy on nftables maps" \
      org.opencontainers.image.source="https://github.com/kube-verdict/kube-verdict" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /src/bin/kube-verdict /kube-verdict
ENTRYPOINT ["/kube-verdict"]
CMD ["run"]
