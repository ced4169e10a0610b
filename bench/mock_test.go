package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for _, body := range []string{freshBody(model1KB, false, firstSeed), freshBody(modelSlow, true, firstSeed+12), keyedBody(model1KB, 1), keyedBody(model2KB, 1), keyedBody(model16KB, 999_999)} {
		if len(body) != bodySize || !json.Valid([]byte(body)) {
			t.Errorf("request of %d bytes: %s", len(body), body)
		}
	}
	for _, size := range []int{1000, 2000, 16_000} {
		if r := reply(size); len(r) != size || !json.Valid(r) {
			t.Errorf("reply of %d bytes, not %d: %s", len(r), size, r)
		}
	}
	for i := range events - 1 {
		data, _ := strings.CutPrefix(string(chunk(i)), "data: ")
		if !json.Valid([]byte(data)) {
			t.Errorf("chunk %d: %s", i, data)
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("median = %v", got)
	}
}

func TestCounted(t *testing.T) {
	const report = "Running 1s test\n  Latency Distribution\n     50%%  700.00us\n     99%%    2.87ms \n  12345 requests in 1.10s, 1.93MB read\n%sRequests/sec:  11222.73\nTransfer/sec: 1MB\n"
	n, rate, p99, err := counted(fmt.Appendf(nil, report, ""))
	if n != 12345 || rate != 11222.73 || p99 != 2870*time.Microsecond || err != nil {
		t.Errorf("%v, %v, %v, %v", n, rate, p99, err)
	}
	for _, bad := range []string{fmt.Sprintf(report, "  Non-2xx or 3xx responses: 1\n"), fmt.Sprintf(report, "  Socket errors: connect 1\n"), "unable to connect"} {
		if _, _, _, err := counted([]byte(bad)); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
