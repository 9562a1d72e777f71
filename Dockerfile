FROM golang:1.26.8 AS build
WORKDIR /src
# The modules change less often than the source: their layer is kept.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN make build VERSION="$VERSION"

FROM scratch
COPY --from=build /src/bin/kube-verdict /kube-verdict
ENTRYPOINT ["/kube-verdict"]
CMD ["run"]
