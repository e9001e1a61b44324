package edge

import "time"

// AnswerWithin shortens the time that the server has for an answer.
func AnswerWithin(d time.Duration) func(*Config) { return func(c *Config) { c.answerTimeout = d } }
