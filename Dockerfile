# A static binary on an empty base, run by a user without rights.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS
ARG TARGETARCH
ARG VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w -X main.release=$VERSION" -o /sluice ./cmd/sluice \
    && mkdir -p /empty/var && mkdir -m 1777 /empty/tmp /empty/var/tmp

# make release makes the same without Docker, and reads from here how it is run.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /sluice /sluice
# Where uploads are kept while they pass, for another attempt.
COPY --from=build /empty/ /
USER 65532:65532
EXPOSE 28888
# Outside loopback Sluice asks for an API key: mount a config with server.api_keys
# there, or set SLUICE_CONFIG to where one is.
ENV SLUICE_CONFIG=/etc/sluice/sluice.yaml SLUICE_HOST=0.0.0.0
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/sluice", "health"]
ENTRYPOINT ["/sluice"]
CMD ["serve"]
