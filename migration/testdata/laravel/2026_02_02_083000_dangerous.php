<?php

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Schema;

class Dangerous extends Migration
{
    public function up()
    {
        Schema::table('users', function (Blueprint $table) {
            $table->string('nick');
            $table->string('note')->nullable();
            $table->integer('points')->default(0);
            $table->dropColumn(['votes', 'avatar']);
            $table->renameColumn('from', 'to');
            $table->string('name', 50)->change();
            $table->index('nick'); // a comment; with a semicolon
            $table->foreignId('team_id')->nullable()->constrained();
        });
        Schema::rename($from, 'other');
        Schema::dropIfExists('leftovers');
        DB::statement('DROP TABLE old_users');
        DB::statement("DELETE FROM $table");
    }

    public function down()
    {
        Schema::drop('users');
    }
}
