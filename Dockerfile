# A static binary on an empty base, run by a user without rights.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /sluice ./cmd/sluice \
    && mkdir -p /empty/var && mkdir -m 1777 /empty/tmp /empty/var/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /sluice /sluice
# Where uploads are kept while they pass, for another attempt.
COPY --from=build /empty/ /
USER 65532:65532
EXPOSE 28888
# Outside loopback Sluice asks for an API key: mount a config with
# server.api_keys, or set SLUICE_CONFIG to one.
ENTRYPOINT ["/sluice"]
CMD ["serve", "--host", "0.0.0.0", "--config", "/etc/sluice/sluice.yaml"]
