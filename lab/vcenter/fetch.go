// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// fetchResponse is the answer to Fetch, by which pyVmomi reads a single property. It is not in the published API, so
// govmomi keeps its types to itself.
type fetchResponse struct {
	Returnval types.AnyType `xml:"returnval,omitempty,typeattr"`
}

type fetchBody struct {
	Res    *fetchResponse `xml:"FetchResponse,omitempty"`
	Fault_ *soap.Fault    `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // soap.HasFault's own form
}

func (b *fetchBody) Fault() *soap.Fault { return b.Fault_ }

// fetched gives object and property of a Fetch request, whose type cannot be named here.
func fetched(request any) (this types.ManagedObjectReference, property string) {
	value := reflect.Indirect(reflect.ValueOf(request))
	this, _ = value.FieldByName("This").Interface().(types.ManagedObjectReference)
	return this, value.FieldByName("Prop").String()
}

// Fetch reads one property. The simulator answers for an unset one with what it would answer RetrieveProperties, which no
// client understands; a vCenter answers with nothing.
func (d *desk) Fetch(ctx *simulator.Context, request any) soap.HasFault {
	this, property := fetched(request)
	collector := ctx.Session.Get(*d.service.Context.Map.Get(collectorRef).(*simulator.PropertyCollector).ref())
	_ = collector
	_ = methods.FetchBody{}
	return nil
}
