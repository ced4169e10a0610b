package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	protobufType = "application/x-protobuf"
	jsonType     = "application/json"
)

// httpReceiver sends by OTLP/HTTP, in protobuf.
type httpReceiver struct {
	url    string
	header http.Header
	gzip   bool
	client *http.Client
}

var errBothTLS = errors.New("certificates are set for an endpoint without TLS")

func newHTTPReceiver(version string, c Connection, secured *tls.Config) (*httpReceiver, error) {
	if c.Insecure && secured != nil {
		return nil, errBothTLS
	}
	h := &httpReceiver{url: c.Endpoint, gzip: c.Gzip, header: make(http.Header)}
	h.header.Set("User-Agent", agent(version))
	for name, value := range c.Header {
		h.header.Set(name, value)
	}
	h.header.Set("Content-Type", protobufType)
	if c.Gzip {
		h.header.Set("Content-Encoding", "gzip")
	}
	h.client = &http.Client{
		Timeout: c.Timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSClientConfig: secured, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
			IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return h, nil
}

func agent(version string) string { return "sluice/" + version }

func (h *httpReceiver) close() { h.client.CloseIdleConnections() }

func (h *httpReceiver) try(ctx context.Context, request []byte) ([]byte, error) {
	if h.gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(request); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		request = b.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	req.Header = h.header.Clone()
	resp, err := h.client.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok && u.Temporary() {
			return nil, &passing{err: err}
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the collector's reply: %w", err)
	case len(reply) > maxReply:
		return nil, errors.New("the collector's reply is too large")
	case resp.StatusCode/100 != 2:
		return nil, refused(resp, reply)
	}
	switch resp.Header.Get("Content-Type") {
	case protobufType:
		return reply, nil
	case jsonType:
		return fromJSON(reply)
	default:
		return nil, nil
	}
}

// refused is the error of a reply that is none of success. The status codes after
// which to try again are the specification's.
func refused(resp *http.Response, reply []byte) error {
	err := fmt.Errorf("the collector answered %s: %.200q", resp.Status, bytes.TrimSpace(reply))
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &passing{pause: retryAfter(resp.Header.Get("Retry-After"), time.Now()), err: err}
	default:
		return err
	}
}

// retryAfter reads a Retry-After field (RFC 9110 section 10.2.3): seconds, or a
// date. It is 0 where there is none, and where that is over.
func retryAfter(field string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(field, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(s, math.MaxInt64/uint64(time.Second))) * time.Second
	}
	if at, err := http.ParseTime(field); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// fromJSON makes a reply in protobuf of one in JSON.
func fromJSON(reply []byte) ([]byte, error) {
	var r struct {
		PartialSuccess struct {
			RejectedSpans      json.Number `json:"rejectedSpans"`
			RejectedDataPoints json.Number `json:"rejectedDataPoints"`
			ErrorMessage       string      `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if len(reply) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(reply, &r); err != nil {
		return nil, fmt.Errorf("the collector's reply is none: %w", err)
	}
	p := r.PartialSuccess
	spans, _ := p.RejectedSpans.Int64()
	points, _ := p.RejectedDataPoints.Int64()
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(max(spans, points)))
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), p.ErrorMessage)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b), nil
}
