package simulator

import (
	"fmt"
	"net/http"

	"sluice/internal/llm"
)

// errorBody is an error as the API writes it.
type errorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	} `json:"error"`
}

// errorAnswer is a reply that carries e.
func errorAnswer(e *llm.Error) answer {
	var body errorBody
	body.Error.Message, body.Error.Type = e.Message, e.Type
	if e.Param != "" {
		body.Error.Param = &e.Param
	}
	if e.Code != "" {
		body.Error.Code = &e.Code
	}
	ans, err := jsonAnswer(body)
	if err != nil {
		panic(err) // four strings can always be encoded
	}
	ans.status = e.Status
	return ans
}

// failure is the reply that a model service gives with a status: in the API's
// shape where the service itself speaks, and a proxy's page of HTML where the
// service is out of reach.
func failure(status int, retryAfter string) answer {
	var ans answer
	switch status {
	case http.StatusBadGateway, http.StatusGatewayTimeout, 520, 522, 524:
		text := http.StatusText(status)
		if text == "" {
			text = "Unknown Error"
		}
		ans = answer{status: status, contentType: "text/html", body: fmt.Appendf(nil,
			"<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n<center><h1>%d %s</h1></center>\r\n</body>\r\n</html>\r\n", status, text, status, text)}
	default:
		ans = errorAnswer(serviceError(status))
	}
	ans.header = map[string]string{}
	if status == http.StatusTooManyRequests {
		ans.header["X-Ratelimit-Limit-Requests"] = "500"
		ans.header["X-Ratelimit-Remaining-Requests"] = "0"
		ans.header["X-Ratelimit-Reset-Requests"] = "1s"
	}
	if retryAfter != "" {
		ans.header["Retry-After"] = retryAfter
	}
	return ans
}

// serviceError is the error that a service has for a status.
func serviceError(status int) *llm.Error {
	e := &llm.Error{Status: status, Type: llm.TypeOf(status)}
	switch status {
	case http.StatusBadRequest:
		e.Code, e.Param = "context_length_exceeded", "messages"
		e.Message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
	case http.StatusUnauthorized:
		e.Type, e.Code = llm.TypeInvalidRequest, "invalid_api_key"
		e.Message = "Incorrect API key provided."
	case http.StatusPaymentRequired:
		e.Code, e.Message = "insufficient_balance", "Insufficient balance."
	case http.StatusForbidden:
		e.Code, e.Message = "unsupported_country_region_territory", "Country, region, or territory not supported."
	case http.StatusNotFound:
		e.Code, e.Param, e.Message = "model_not_found", "model", "The model does not exist or you do not have access to it."
	case http.StatusTooManyRequests:
		e.Type, e.Code = "requests", "rate_limit_exceeded"
		e.Message = "Rate limit reached for requests. Limit: 500 / min. Please try again in 1s."
	case http.StatusInternalServerError:
		e.Message = "The server had an error while processing your request. Sorry about that!"
	case http.StatusServiceUnavailable:
		e.Code, e.Message = "service_unavailable", "The service is overloaded. Please try again later."
	case 529:
		e.Type, e.Message = "overloaded_error", "Overloaded"
	default:
		e.Message = fmt.Sprintf("The request failed with status %d.", status)
		if text := http.StatusText(status); text != "" {
			e.Message = text + "."
		}
	}
	return e
}
