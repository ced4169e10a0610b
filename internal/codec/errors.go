package codec

import (
	"errors"
	"fmt"
	"time"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// The statuses that the codec gives. net/http is for the edges alone.
const (
	statusBadRequest       = 400
	statusNotFound         = 404
	statusMethodNotAllowed = 405
	statusConflict         = 409
	statusTooLarge         = 413
	statusUnsupportedMedia = 415
	statusUnavailable      = 503
)

func errParam(code, param, format string, args ...any) *llm.Error {
	e := llm.Errorf(statusBadRequest, code, "%s", fmt.Sprintf(format, args...))
	e.Param = param
	return e
}

func errMissing(param, format string, args ...any) *llm.Error {
	return errParam("missing_required_parameter", param, format, args...)
}

// errLimit says that a request goes beyond a limit of the configuration. Such a
// request may be sound, and another gateway may take it.
func errLimit(param, format string, args ...any) *llm.Error {
	e := llm.Errorf(statusTooLarge, "limit_exceeded", "%s", fmt.Sprintf(format, args...))
	e.Param = param
	return e
}

// errEnvelope says where an envelope is no JSON, or what else is wrong with it.
func errEnvelope(body []byte, err error) error {
	fault, ok := errors.AsType[*jsonscan.Error](err)
	if !ok {
		return err
	}
	if fault.Limit {
		return errLimit("", "The request's body nests arrays and objects too deeply (byte %d).", fault.Offset)
	}
	line, column := fault.Position(body)
	return llm.Errorf(statusBadRequest, "invalid_json", "The request's body is not a valid JSON object: %s at line %d, column %d (byte %d).",
		fault.Msg, line, column, fault.Offset)
}

// errUndone says why the workers did not do something.
func errUndone(err error) error {
	switch {
	case errors.Is(err, errFull):
		e := llm.Errorf(statusUnavailable, "codec_busy", "Too many messages wait to be encoded or decoded. Send the request again in a moment.")
		e.Fault, e.RetryAfter = llm.Busy, time.Second
		return e
	case errors.Is(err, errClosed):
		e := llm.Errorf(statusUnavailable, "shutting_down", "The gateway is shutting down. Send the request again.")
		e.Fault, e.RetryAfter = llm.ShuttingDown, time.Second
		return e
	default:
		return err
	}
}

// outcomeOf sorts an error for the figures.
func outcomeOf(err error) outcome {
	if err == nil {
		return done
	}
	switch e := llm.AsError(err); {
	case e.Fault == llm.Busy || e.Fault == llm.Lacking:
		return busy
	case e.Fault == llm.Left:
		return cancelled
	case e.Status < 500:
		return invalid
	default:
		return failed
	}
}
