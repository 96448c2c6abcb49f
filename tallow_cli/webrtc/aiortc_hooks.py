"""Every part of aiortc and aioice that Tallow stands on though their documentation does not promise it, by name, and
what to do where one is missing.

`SHARED` is what the walls around both engines need (`ice_wall`, `sctp_wall`, `stock_sctp`, `aiortc_internals`): without
it bytes from outside would reach the libraries unchecked, so there is no connection at all. `TURBO` is what only the
turbo engine needs: without it aiortc's own engine is used, behind the same walls. This module imports nothing that
could itself stumble over what is missing.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Final

# (module, module:Class or module:Class.Class; names in it)
Hooks = tuple[tuple[str, str], ...]

SHARED: Final[Hooks] = (
    ("aioice.candidate", "candidate_foundation candidate_priority"),
    (
        "aioice.candidate:Candidate",
        "_network_host foundation host port priority related_address related_port type",
    ),
    (
        "aioice.ice:Connection",
        "build_request check_complete check_incoming check_start check_state close connect data_received"
        " gather_candidates protocol_lost query_consent request_received sort_check_list"
        " _check_list _check_list_done _check_list_maybe_fail _closing _early_checks _local_candidates"
        " _local_candidates_end _local_candidates_start _nominated _pair_remote_candidate _protocols"
        " _query_consent_task _queue _remote_candidates _transport_policy _use_ipv4 _use_ipv6 _valid_username"
        " ice_controlling remote_password",
    ),
    ("aioice.ice", "CandidatePair StunProtocol candidate_pair_priority get_host_addresses"),
    (
        "aioice.ice:CandidatePair",
        "State local_candidate nominated protocol remote_addr remote_candidate remote_nominated state",
    ),
    ("aioice.ice:CandidatePair.State", "FAILED FROZEN IN_PROGRESS SUCCEEDED WAITING"),
    ("aioice.ice:StunProtocol", "close connection_lost datagram_received id request send_stun transactions"),
    ("aioice.stun", "Class Message Method TransactionError TransactionFailed TransactionTimeout"),
    ("aioice.stun:Class", "ERROR REQUEST RESPONSE"),
    (
        "aioice.stun:Message",
        "add_message_integrity attributes check_message_integrity error_code message_class message_method"
        " transaction_id",
    ),
    ("aioice.stun:Method", "BINDING"),
    ("aioice.stun:TransactionError", "response"),
    (
        "aioice.turn",
        "DEFAULT_ALLOCATION_LIFETIME DEFAULT_CHANNEL_REFRESH_TIME TurnClientMixin TurnClientTcpProtocol"
        " TurnClientUdpProtocol",
    ),
    (
        "aioice.turn:TurnClientMixin",
        "channel_bind channel_to_peer connect connection_lost connection_made datagram_received delete integrity_key"
        " mapped_address nonce peer_to_channel realm receiver request send_stun server transactions username",
    ),
    ("aioice.turn:TurnClientTcpProtocol", "transport"),
    ("aioice.turn:TurnClientUdpProtocol", "transport"),
    ("aiortc.rtcicetransport:RTCIceGatherer", "_connection"),
    ("aiortc.rtcicetransport:RTCIceTransport", "_connection _recv _send"),
    ("aiortc.rtcdtlstransport", "State"),
    ("aiortc.rtcdtlstransport:State", "FAILED"),
    (
        "aiortc.rtcdtlstransport:RTCDtlsTransport",
        "_recv_next _send_data _set_role _set_state _ssl _task _validate_peer_identity _write_ssl encrypted",
    ),
    (
        "aiortc.rtcsctptransport",
        "CHUNK_TYPES Chunk DATA_CHANNEL_OPEN DataChunk ForwardTsnChunk InitAckChunk InitChunk SCTP_TSN_MODULO SackChunk"
        " WEBRTC_BINARY WEBRTC_DCEP WEBRTC_STRING",
    ),
    ("aiortc.rtcsctptransport:DataChunk", "_acked stream_id tsn user_data"),
    ("aiortc.rtcsctptransport:ForwardTsnChunk", "streams"),
    ("aiortc.rtcsctptransport:InitChunk", "initial_tsn initiate_tag"),
    ("aiortc.rtcsctptransport:InitAckChunk", "initial_tsn initiate_tag"),
    ("aiortc.rtcsctptransport:SackChunk", "cumulative_tsn duplicates gaps"),
    ("aiortc.rtcsctptransport:InboundStream", "reassembly"),
    (
        "aiortc.rtcsctptransport:RTCSctpTransport",
        "State _advertised_rwnd _association_state _data_channel_closed _data_channel_flush _data_channel_queue"
        " _data_channel_receive _data_channels _flight_size_decrease _handle_data _inbound_streams _last_received_tsn"
        " _local_tsn _local_verification_tag _mark_received _outbound_queue _receive_chunk _receive_data_chunk"
        " _receive_forward_tsn_chunk _receive_sack_chunk _reconfig_response_seq _reset_deferred_streams _rto"
        " _sack_misordered _sack_needed _send_chunk _send_sack _sent_queue _set_state _t1_expired _t1_failures"
        " _t1_start _transmit",
    ),
    ("aiortc.rtcsctptransport:RTCSctpTransport.State", "CLOSED ESTABLISHED"),
)

TURBO: Final[Hooks] = (
    ("aiortc.rtcsctptransport:InitAckChunk", "advertised_rwnd"),
    ("aiortc.rtcsctptransport:InitChunk", "advertised_rwnd"),
    ("aiortc.rtcsctptransport:StreamResetOutgoingParam", "streams"),
    ("aiortc.rtcdtlstransport", "DataReceiver"),
    ("aiortc.rtcdtlstransport:RTCDtlsTransport", "_register_data_receiver _unregister_data_receiver"),
    ("aiortc.rtcdatachannel:RTCDataChannel", "_addBufferedAmount _setId"),
    (
        "aiortc.rtcsctptransport",
        "StreamResetOutgoingParam StreamResetResponseParam serialize_packet",
    ),
    (
        "aiortc.rtcsctptransport:RTCSctpTransport",
        "_data_channel_id _data_channel_send _get_extensions _local_port _receive_reconfig_param _reconfig_deferred"
        " _reconfig_queue _reconfig_request _remote_max_message_size _remote_partial_reliability _remote_port"
        " _set_extensions _transmit_reconfig",
    ),
)


def missing_hooks(hooks: Hooks) -> tuple[str, ...]:
    """Those the installed versions lack, as `Owner.name`."""
    return tuple(
        f"{owner.replace(':', '.').rpartition('.')[2]}.{name}"
        for owner, names in hooks
        for name in names.split()
        if not has_part(resolve(owner), name)
    )


def resolve(owner: str) -> type | ModuleType | None:
    """The module, or the class in it; None if it is not there."""
    module_name, _, class_path = owner.partition(":")
    try:
        part: type | ModuleType | None = import_module(module_name)
    except ImportError:
        return None
    for name in class_path.split(".") if class_path else ():
        part = getattr(part, name, None)
    return part


def has_part(owner: type | ModuleType | None, name: str) -> bool:
    """Whether the class or module has it, or the class gives it to its instances when they are made."""
    if hasattr(owner, name):
        return True
    return isinstance(owner, type) and any(
        name in getattr(getattr(vars(base).get("__init__"), "__code__", None), "co_names", ())
        or name in vars(base).get("__annotations__", {})
        for base in owner.__mro__
    )
