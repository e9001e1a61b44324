package event

// FieldError says which field of an event, statement or batch is wrong, and why.
type FieldError struct {
	Field  string // for example "causes[3].id", "events[2].execution.tool"; empty for the whole
	Reason string // lower case, no full stop
}

// Error is "field: reason".
func (e *FieldError) Error() string {
	if e.Field == "" {
		return e.Reason
	}
	return e.Field + ": " + e.Reason
}

// err is e as an error; a nil *FieldError is no error.
func (e *FieldError) err() error {
	if e == nil {
		return nil
	}
	return e
}

// under is e seen from the message that holds it in the named field.
func (e *FieldError) under(field string) *FieldError {
	switch {
	case e == nil:
		return nil
	case e.Field == "":
		return &FieldError{field, e.Reason}
	}
	return &FieldError{field + "." + e.Field, e.Reason}
}

// first is the first of errs that is one.
func first(errs ...*FieldError) *FieldError {
	for _, e := range errs {
		if e != nil {
			return e
		}
	}
	return nil
}
