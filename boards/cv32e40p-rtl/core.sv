// CV32E40P behind the ports that sim/rtl/machine.cpp drives. Its buses have no error: a failed access is its fast
// interrupt 0. SPDX-License-Identifier: Apache-2.0
module spk_core (
    input  logic        clk,
    input  logic        reset_n,
    input  logic [31:0] boot,
    output logic        instr_req,
    input  logic        instr_gnt,
    input  logic        instr_rvalid,
    output logic [31:0] instr_addr,
    input  logic [31:0] instr_rdata,
    input  logic        instr_err,
    output logic        data_req,
    input  logic        data_gnt,
    input  logic        data_rvalid,
    output logic        data_we,
    output logic [ 3:0] data_be,
    output logic [31:0] data_addr,
    output logic [31:0] data_wdata,
    input  logic [31:0] data_rdata,
    input  logic        data_err,
    input  logic        bus_fault
);
    cv32e40p_core core (
        .clk_i(clk),
        .rst_ni(reset_n),
        .pulp_clock_en_i(1'b1),
        .scan_cg_en_i(1'b0),
        .boot_addr_i(boot + 32'h80), // where Ibex starts
        .mtvec_addr_i(boot),
        .dm_halt_addr_i('0),
        .hart_id_i('0),
        .dm_exception_addr_i('0),
        .instr_req_o(instr_req),
        .instr_gnt_i(instr_gnt),
        .instr_rvalid_i(instr_rvalid),
        .instr_addr_o(instr_addr),
        .instr_rdata_i(instr_rdata),
        .data_req_o(data_req),
        .data_gnt_i(data_gnt),
        .data_rvalid_i(data_rvalid),
        .data_we_o(data_we),
        .data_be_o(data_be),
        .data_addr_o(data_addr),
        .data_wdata_o(data_wdata),
        .data_rdata_i(data_rdata),
        .apu_busy_o(), // no floating-point unit
        .apu_req_o(),
        .apu_gnt_i(1'b0),
        .apu_operands_o(),
        .apu_op_o(),
        .apu_flags_o(),
        .apu_rvalid_i(1'b0),
        .apu_result_i('0),
        .apu_flags_i('0),
        .irq_i({15'b0, bus_fault, 16'b0}),
        .irq_ack_o(),
        .irq_id_o(),
        .debug_req_i(1'b0),
        .debug_havereset_o(),
        .debug_running_o(),
        .debug_halted_o(),
        .fetch_enable_i(1'b1),
        .core_sleep_o()
    );

    logic unused;
    assign unused = instr_err ^ data_err;
endmodule
