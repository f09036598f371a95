// Inside the profile parser: what has been read so far, and the directives that matter. profile.cpp reads files,
// lines and blocks; profile_directives.cpp gives each directive its meaning; profile_remotes.cpp puts the servers
// together when everything has been read.
#pragma once

#include "killswitch/base/result.hpp"
#include "killswitch/model/profile.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace killswitch::codec::profile {

struct Place {
  std::string file;
  unsigned line{0};
};

/// "client.ovpn:12: ": in front of every message.
[[nodiscard]] std::string at(const Place& place);

struct Proxy {
  std::string host;
  model::Port port;
  Place place;
};

/// What OpenVPN calls a connection entry: the values of one <connection> block, or the global ones.
struct Connection {
  std::string host;
  model::Port port{1194};
  model::Protocol protocol{model::Protocol::udp};
  std::optional<model::Family> family;
  std::optional<Proxy> http_proxy;
  std::optional<Proxy> socks_proxy;
  Place place;
};

/// A `remote` line; what it does not say comes from the global values at the end of the profile.
struct RemoteLine {
  std::string host;
  std::optional<model::Port> port;
  std::optional<model::Protocol> protocol;
  std::optional<model::Family> family;
  Place place;
};

/// Everything read so far.
struct Draft {
  model::Profile profile;
  Connection global;
  std::vector<RemoteLine> remotes;
  std::vector<Connection> connections;
  std::optional<model::Protocol> forced_protocol;  ///< `proto-force`
  std::vector<std::string> may_be_unknown;         ///< `ignore-unknown-option`

  void warn(const Place& place, std::string text);
};

struct Directive {
  std::string name;
  std::vector<std::string> parameters;
  Place place;
};

using Handler = Outcome (*)(Draft&, Connection&, const Directive&);

enum class Scope : std::uint8_t { profile, anywhere };

struct Known {
  std::string_view name;
  std::string_view usage;  ///< its parameters, for messages
  std::size_t least{0};    ///< parameters
  std::size_t most{0};
  Scope scope{Scope::profile};  ///< `anywhere`: also in a <connection> block
  Handler handle{nullptr};
};

/// @return nothing when the directive does not matter to a kill switch
[[nodiscard]] const Known* find_directive(std::string_view name);

/// A `remote` line inside a <connection> block or outside.
void apply_remote(Connection& connection, const RemoteLine& line);

/// Puts together what OpenVPN would try, in its order.
[[nodiscard]] Result<model::Profile> finish(Draft draft, const std::string& path);

}  // namespace killswitch::codec::profile
