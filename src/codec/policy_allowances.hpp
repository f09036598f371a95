// The part of a policy's JSON that names ways besides the tunnel. Private to this folder.
#pragma once

#include "json_parts.hpp"

namespace killswitch::codec {

/// The keys lan, inbound, endpoints, router (where there is one), trusted_interfaces and waives.
void write_allowances(OrderedJson& json, const model::Policy& policy);

/// Reads them; refuses at its place what gives up a guarantee that is not waived, and a waiver that is not needed. The
/// rest of the policy must have been read before.
void read_allowances(const JsonCursor& cursor, model::Policy& policy);

}  // namespace killswitch::codec
