// Settings ↔ JSON.
#include "killswitch/codec/state_json.hpp"

#include "json_parts.hpp"
#include "killswitch/codec/names.hpp"
#include "killswitch/codec/networkmanager_vpn.hpp"

#include <variant>

namespace killswitch::codec {
namespace {

using model::ManagementAddress;
using model::Settings;

constexpr std::size_t max_unix_path = 107;  // sun_path of sockaddr_un without its final zero

OrderedJson write_management(const ManagementAddress& management) {
  OrderedJson json;
  if (const auto* socket = std::get_if<model::UnixSocketPath>(&management.where)) {
    json["unix"] = socket->path;
  } else if (const auto* tcp = std::get_if<model::TcpAddress>(&management.where)) {
    json["address"] = model::to_string(tcp->address);
    json["port"] = tcp->port.number;
  }
  json["password_file"] = management.password_file;
  return json;
}

void read_path(const JsonCursor& cursor, std::string& path) {
  cursor.read(path);
  if (cursor.present() && (path.empty() || path.front() != '/' || path.find('\0') != std::string::npos)) {
    cursor.mismatch("an absolute path");  // the daemon's working directory is not the user's
  }
}

void read_management(const JsonCursor& cursor, ManagementAddress& management) {
  cursor.expect_object({"unix", "address", "port", "password_file"});
  const auto socket = cursor.optional("unix");
  const auto address = cursor.optional("address");
  if (socket.present()) {
    model::UnixSocketPath where;
    read_path(socket, where.path);
    if (where.path.size() > max_unix_path) {
      socket.mismatch("a path of at most 107 bytes");
    }
    if (address.present() || cursor.optional("port").present()) {
      cursor.refuse("expected either \"unix\" or \"address\" and \"port\", found both");
    }
    management.where = std::move(where);
  } else {
    model::TcpAddress where;
    read_address(cursor.required("address", "an address, or \"unix\" with a path"), where.address);
    read_port(cursor.required("port", "a port"), where.port);
    management.where = where;
  }
  std::string password_file;
  cursor.optional("password_file").read(password_file);
  if (!password_file.empty()) {
    read_path(cursor.optional("password_file"), password_file);
  }
  management.password_file = std::move(password_file);
}

OrderedJson write_networkmanager(const model::NetworkManagerVpn& vpn) {
  auto remotes = OrderedJson::array();
  for (const auto& remote : vpn.remotes) {
    remotes.push_back(model::to_string(remote));
  }
  return {{"uuid", vpn.uuid}, {"name", vpn.name}, {"remotes", std::move(remotes)}};
}

void read_networkmanager(const JsonCursor& cursor, model::NetworkManagerVpn& vpn) {
  cursor.expect_object({"uuid", "name", "remotes"});
  const auto uuid = cursor.required("uuid", "the UUID of a connection");
  uuid.read(vpn.uuid);
  if (uuid.present() && !is_uuid(vpn.uuid)) {
    uuid.mismatch("the UUID of a connection");
  }
  cursor.required("name", "the name of the connection").read(vpn.name);
  for (const auto& item : cursor.required("remotes", "its servers").items()) {
    auto& remote = vpn.remotes.emplace_back();
    item.read_parsed(remote, "HOST:PORT/udp or HOST:PORT/tcp", model::parse_remote);
    if (!remote.host.empty() && !is_host(remote.host)) {
      item.mismatch("HOST:PORT/udp or HOST:PORT/tcp");
    }
  }
}

}  // namespace

OrderedJson write_settings(const Settings& settings) {
  auto remotes = OrderedJson::array();
  for (const auto& pinned : settings.remotes) {
    remotes.push_back(write_pinned_remote(pinned));
  }
  OrderedJson json{{"version", 1}, {"policy", write_policy(settings.policy)}, {"remotes", std::move(remotes)}};
  if (!settings.transport_programs.empty()) {
    json["transport_programs"] = write_transport_programs(settings.transport_programs);
  }
  if (settings.profile_mark) {
    json["profile_mark"] = *settings.profile_mark;
  }
  if (settings.via_proxy) {
    json["via_proxy"] = true;
  }
  if (!settings.interface.empty()) {
    json["interface"] = settings.interface;
  }
  if (settings.management) {
    json["management"] = write_management(*settings.management);
  }
  for (const auto& vpn : settings.networkmanager) {
    json["networkmanager"].push_back(write_networkmanager(vpn));
  }
  return json;
}

void read_settings(const JsonCursor& cursor, Settings& settings) {
  cursor.expect_object({"version", "policy", "remotes", "transport_users", "transport_programs", "profile_mark",
                        "via_proxy", "interface", "management", "networkmanager"});
  read_version(cursor);
  read_policy(cursor.required("policy", "a policy"), PolicyName::may_be_empty, settings.policy);
  if (const auto remotes = cursor.optional("remotes"); remotes.present()) {
    for (const auto& item : remotes.items()) {
      read_pinned_remote(item, settings.remotes.emplace_back());
    }
  }
  if (const auto users = cursor.optional("transport_users"); users.present()) {
    for (const auto& item : users.items()) {  // of version 0.1: a user ID proves nothing any more
      std::uint32_t ignored = 0;
      item.read(ignored, 0, UINT32_MAX);
    }
  }
  if (const auto programs = cursor.optional("transport_programs"); programs.present()) {
    read_transport_programs(programs, settings.transport_programs);
  }
  if (const auto mark = cursor.optional("profile_mark"); mark.present()) {
    mark.read(settings.profile_mark.emplace(), 1, UINT32_MAX);
  }
  cursor.optional("via_proxy").read(settings.via_proxy);
  read_interface(cursor.optional("interface"), settings.interface);
  if (const auto management = cursor.optional("management"); management.present()) {
    read_management(management, settings.management.emplace());
  }
  if (const auto vpns = cursor.optional("networkmanager"); vpns.present()) {
    for (const auto& item : vpns.items()) {
      read_networkmanager(item, settings.networkmanager.emplace_back());
    }
  }
}

Result<Settings> parse_settings(std::string_view text, const std::string& source) {
  return read_json<Settings>(text, source,
                             [](const JsonCursor& root, Settings& settings) { read_settings(root, settings); });
}

std::string render_settings(const Settings& settings) {
  return pretty(write_settings(settings));
}

}  // namespace killswitch::codec
