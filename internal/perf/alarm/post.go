package alarm

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// signatureHeader is "t=UNIX,v1=HEX", HEX being the HMAC-SHA256 of
	// "UNIX.BODY" under the webhook's secret.
	signatureHeader = "X-Sluice-Signature"
	// postTimeout bounds one try, the reply included.
	postTimeout = 10 * time.Second
	// shortestPause and longestPause bound a Retry-After.
	shortestPause = time.Second
	longestPause  = 2 * time.Minute
	// shown bounds what is read of a reply, which says why it was refused.
	shown = 200
)

// post sends one message. Its error is permanent, in the sense of backoff, where
// trying again is of no use, and shows nothing of the URL but the host.
func (h *hook) post(ctx context.Context, batch []event) error {
	now := time.Now()
	body, err := h.body.encode(batch, now)
	if err != nil {
		return backoff.Permanent(err)
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.target, bytes.NewReader(body))
	if err != nil { // it would show the URL
		return permanent("its URL cannot be used")
	}
	for name, value := range h.config.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", h.agent)
	if key := h.config.Secret; !key.IsZero() {
		req.Header.Set(signatureHeader, sign(key.Reveal(), now.Unix(), body))
	}
	resp, err := h.client.Do(req)
	h.seconds.Observe(time.Since(now))
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the URL
		}
		return fmt.Errorf("send message: %w", err)
	}
	defer resp.Body.Close()
	return refusal(resp, now)
}

// refusal is why a reply is none that takes the message, nil where it does.
func refusal(resp *http.Response, now time.Time) error {
	status := resp.StatusCode
	if status/100 == 2 {
		return nil
	}
	if status/100 == 3 {
		return permanent(fmt.Sprintf("status %d: redirects are not followed; give the URL that it leads to", status))
	}
	why, err := io.ReadAll(io.LimitReader(resp.Body, shown))
	text := fmt.Sprintf("status %d: %q", status, why)
	if err != nil {
		text = fmt.Sprintf("status %d", status)
	}
	if status/100 != 5 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
		return permanent(text)
	}
	if wait, ok := retryAfter(resp.Header.Get("Retry-After"), now); ok {
		return fmt.Errorf("%s: %w", text, &backoff.RetryAfterError{Duration: wait})
	}
	return errors.New(text)
}

// retryAfter reads a Retry-After field (RFC 9110 section 10.2.3), seconds or a
// date. It is between shortestPause and longestPause: a server that always says 0
// is not asked without end.
func retryAfter(field string, now time.Time) (time.Duration, bool) {
	var wait time.Duration
	s, err := strconv.ParseUint(field, 10, 64)
	switch {
	case err == nil || errors.Is(err, strconv.ErrRange): // which gives the greatest number
		wait = time.Duration(min(s, uint64(longestPause/time.Second))) * time.Second
	default:
		at, err := http.ParseTime(field)
		if err != nil {
			return 0, false
		}
		wait = at.Sub(now)
	}
	return min(max(wait, shortestPause), longestPause), true
}

// sign gives the signature's header.
func sign(secret string, unix int64, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%d.", unix)
	mac.Write(body)
	return fmt.Sprintf("t=%d,v1=%s", unix, hex.EncodeToString(mac.Sum(nil)))
}
