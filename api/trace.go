package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/tapvault/tapvault/internal/trace"
)

// untraced are asked every second by machines.
var untraced = map[string]bool{healthPath: true, readyPath: true, metricsPath: true}

// traced begins the span of a request, if it is to be recorded. Its name is the
// operation's: never what a caller wrote.
func (s *server) traced(ctx context.Context, c *gin.Context) (context.Context, trace.Span) {
	if s.Trace == nil || untraced[c.FullPath()] {
		return ctx, trace.Span{}
	}
	parent := ""
	if h := c.Request.Header["Traceparent"]; len(h) == 1 {
		parent = h[0]
	}
	return s.Trace(ctx, s.operationID(c), parent)
}

// operationID is what openapi.yaml calls the matched operation, or "none".
func (s *server) operationID(c *gin.Context) string {
	method := c.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if id := s.ids[method+" "+c.FullPath()]; id != "" {
		return id
	}
	return "none"
}

// ended ends the span of a request.
func ended(span trace.Span, status int) {
	if !span.On() {
		return
	}
	span.Set(trace.Status, string(rune('0'+status/100%10))+"xx")
	if status >= http.StatusInternalServerError {
		span.Fail()
	}
	span.End()
}

// traceProblem says in the span of a request how it failed.
func traceProblem(ctx context.Context, problem string) {
	trace.Of(ctx).Set(trace.Problem, strings.TrimPrefix(problem, problemBase))
}

// operationIDs names operations by method and path, as gin writes it.
func operationIDs(sections []section) map[string]string {
	ids := map[string]string{}
	for _, s := range sections {
		for _, op := range s.Operations {
			path := strings.NewReplacer("{", ":", "}", "").Replace(op.Path)
			ids[op.Method+" "+path] = op.OperationID
		}
	}
	return ids
}
